<?php
// Receives Tölem's webhooks and checks their signature. PHP 8 or newer, no packages.
//
//   WEBHOOK_SECRET=whsec_… php -S 127.0.0.1:8090 webhook.php

declare(strict_types=1);

const TOLERANCE_SECONDS = 300;

/** True where one of the signatures is right and the request is fresh. $body as it came. */
function is_ours(string $secret, array $headers, string $body): bool
{
    $sent_at = $headers['webhook-timestamp'] ?? '';
    if (!preg_match('/^[0-9]{1,11}$/D', $sent_at) || abs(time() - (int) $sent_at) > TOLERANCE_SECONDS) {
        return false;
    }
    $key = base64_decode(substr($secret, strlen('whsec_')), true);
    $content = ($headers['webhook-id'] ?? '') . '.' . $sent_at . '.' . $body;
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', $content, $key, true));
    foreach (explode(' ', $headers['webhook-signature'] ?? '') as $given) {
        if (hash_equals($expected, $given)) {
            return true;
        }
    }
    return false;
}

$body = file_get_contents('php://input');
if (!is_ours(getenv('WEBHOOK_SECRET'), array_change_key_case(getallheaders(), CASE_LOWER), $body)) {
    http_response_code(400);
    exit;
}
http_response_code(204);
$event = json_decode($body, true, flags: JSON_THROW_ON_ERROR);
// The same event may come twice: a real shop remembers $event['id'], and skips what it knows.
$about = $event['data']['object'];
$told = ['verified', $event['id'], $event['type'], $about['id'] ?? '', $about['state'] ?? $about['status'] ?? ''];
file_put_contents('php://stdout', implode(' ', $told) . "\n");
