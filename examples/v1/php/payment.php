<?php
// A sandbox invoice: created, paid, and partly refunded. PHP 8 or newer, no packages.
//
//   TOLEM_API_URL=http://127.0.0.1:8000 TOLEM_API_KEY=tk_test_… php payment.php

declare(strict_types=1);

/** The answer's JSON. An error stops the program with what the API says. */
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
    // "retryable" in the answer says whether the same request may succeed later: repeat it with the same key then.
    if ($said === false || $status >= 400) {
        throw new RuntimeException("$method $path: $status $said");
    }
    return json_decode($said, true, flags: JSON_THROW_ON_ERROR);
}

$order = 'order-' . bin2hex(random_bytes(8));

// The key is the order's own: however often this is repeated, there is one bill.
$wanted = ['amount' => 10000, 'phone_number' => '77011234567', 'description' => 'Order 1042', 'external_order_id' => $order];
$invoice = call('POST', '/api/v1/invoices', $wanted, $order);
$again = call('POST', '/api/v1/invoices', $wanted, $order);
if ($again['id'] !== $invoice['id']) {
    throw new RuntimeException('two bills for one order');
}
echo "created {$invoice['id']} {$invoice['amount']} {$invoice['state']}\n";

// In the sandbox you are the payer. Live, the customer pays in the Kaspi app, and a webhook tells.
$invoice = call('POST', "/api/v1/sandbox/invoices/{$invoice['id']}/simulate", ['status' => 'paid']);
echo "paid {$invoice['id']} {$invoice['state']}\n";

$asked = ['amount' => 2500, 'reason' => 'Out of stock'];
$refund = call('POST', "/api/v1/invoices/{$invoice['id']}/refund", $asked, "return-$order");
// The answer only says that it is recorded. A webhook tells the outcome; a program without one looks.
for ($look = 0; $look < 60 && !in_array($refund['status'], ['completed', 'failed'], true); $look++) {
    usleep(500_000);
    $refund = call('GET', "/api/v1/refunds/{$refund['id']}");
}
echo "refunded {$refund['id']} {$refund['amount']} {$refund['status']}\n";

$invoice = call('GET', "/api/v1/invoices/{$invoice['id']}");
echo "left {$invoice['available_for_refund']} {$invoice['state']}\n";
