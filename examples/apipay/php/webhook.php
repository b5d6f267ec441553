<?php
// Receives webhooks in ApiPay's words ("dialect": "apipay") and checks their signature. PHP 8 or newer, no packages.
//
//   WEBHOOK_SECRET=whsec_… php -S 127.0.0.1:8090 webhook.php

declare(strict_types=1);

/** $signature is the header X-Webhook-Signature, $body as it came. */
function is_ours(string $secret, string $signature, string $body): bool
{
    // The key is the secret's whole text, "whsec_" included.
    return hash_equals('sha256=' . hash_hmac('sha256', $body, $secret), $signature);
}

$body = file_get_contents('php://input');
if (!is_ours(getenv('WEBHOOK_SECRET'), $_SERVER['HTTP_X_WEBHOOK_SIGNATURE'] ?? '', $body)) {
    http_response_code(400);
    exit;
}
http_response_code(200);
$told = json_decode($body, true, flags: JSON_THROW_ON_ERROR);
// The same may come twice, and this signature does not show its age: a real shop remembers webhook-id, or
// $invoice['id'] with $invoice['status'], and skips what it knows. Events about something else have no invoice.
$invoice = $told['invoice'] ?? [];
$line = ['verified', $told['event'], $invoice['id'] ?? '', $invoice['status'] ?? ''];
file_put_contents('php://stdout', implode(' ', $line) . "\n");
