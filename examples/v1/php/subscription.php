<?php
// A sandbox subscription that lives three months in seconds, by a test clock. PHP 8 or newer, no packages.
//
//   TOLEM_API_URL=http://127.0.0.1:8000 TOLEM_API_KEY=tk_test_… php subscription.php

declare(strict_types=1);

function call(string $method, string $path, ?array $body = null, ?string $idempotency_key = null): array
{
    $headers = ['X-API-Key: ' . getenv('TOLEM_API_KEY'), 'Content-Type: application/json'];
    if ($idempotency_key !== null) {
        $headers[] = 'Idempotency-Key: ' . $idempotency_key;
    }
    $http = ['method' => $method, 'header' => $headers, 'ignore_errors' => true, 'timeout' => 30];
    if ($body !== null) {
        $http['content'] = json_encode($body, JSON_THROW_ON_ERROR);
    }
    $said = file_get_contents(getenv('TOLEM_API_URL') . $path, false, stream_context_create(['http' => $http]));
    $status = (int) explode(' ', $http_response_header[0] ?? 'none 0')[1];
    if ($said === false || $status >= 400) {
        throw new RuntimeException("$method $path: $status $said");
    }
    return json_decode($said, true, flags: JSON_THROW_ON_ERROR);
}

$clock = call('POST', '/api/v1/sandbox/test-clocks', ['name' => 'example', 'now' => '2026-01-31T10:00:00+05:00']);

// Every period is a bill that the payer confirms: Kaspi has no auto-debit.
$wanted = ['phone_number' => '77011234567', 'amount' => 10000, 'billing_period' => 'monthly', 'description' => 'Membership'];
$asked = $wanted + ['test_clock' => $clock['id']];
$subscription = call('POST', '/api/v1/subscriptions', $asked, 'member-' . bin2hex(random_bytes(8)));
echo "created {$subscription['id']} {$subscription['status']}\n";

$clock = call('POST', "/api/v1/sandbox/test-clocks/{$clock['id']}/advance", ['by' => 'P3M']);
while ($clock['state'] !== 'ready') {
    usleep(200_000);
    $clock = call('GET', "/api/v1/sandbox/test-clocks/{$clock['id']}");
}

foreach (call('GET', "/api/v1/subscriptions/{$subscription['id']}/invoices")['items'] as $invoice) {
    echo "billed {$invoice['id']} {$invoice['amount']} {$invoice['state']}\n";
}
$canceled = call('POST', "/api/v1/subscriptions/{$subscription['id']}/cancel");
echo "canceled {$canceled['id']} {$canceled['status']}\n";
