<?php
// A sandbox invoice by the ApiPay contract: created, paid, and partly refunded. PHP 8 or newer, no packages.
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
    // "errors" names the wrong fields; after a 429 repeat the same request in "retry_after" seconds.
    if ($said === false || $status >= 400) {
        throw new RuntimeException("$method $path: $status $said");
    }
    return json_decode($said, true, flags: JSON_THROW_ON_ERROR);
}

$order = 'order-' . bin2hex(random_bytes(8));

// In the sandbox a phone that ends in 0001 pays by itself. Live, the customer pays in the Kaspi app.
$wanted = ['amount' => 10000, 'phone_number' => '87010000001', 'description' => 'Order 1042', 'external_order_id' => $order];
// The key, which ApiPay does not have, is the order's own: however often this is repeated, there is one bill.
$invoice = call('POST', '/api/invoices', $wanted, $order);
$again = call('POST', '/api/invoices', $wanted, $order);
if ($again['id'] !== $invoice['id']) {
    throw new RuntimeException('two bills for one order');
}
echo "created {$invoice['id']} {$invoice['amount']} {$invoice['status']}\n";

// A webhook tells; a program without one looks.
for ($look = 0; $look < 60 && $invoice['status'] === 'pending'; $look++) {
    sleep(1);
    $invoice = call('GET', "/api/invoices/{$invoice['id']}");
}
echo "paid {$invoice['id']} {$invoice['status']}\n";

$asked = ['amount' => 2500, 'reason' => 'Out of stock'];
$refund = call('POST', "/api/invoices/{$invoice['id']}/refund", $asked, "return-$order");
// Mostly the answer says how it went. Where the bank is slow, look again.
for ($look = 0; $look < 60 && !in_array($refund['status'], ['completed', 'failed'], true); $look++) {
    sleep(1);
    $refund = call('GET', "/api/refunds/{$refund['id']}");
}
echo "refunded {$refund['id']} {$refund['amount']} {$refund['status']}\n";

$invoice = call('GET', "/api/invoices/{$invoice['id']}");
echo "total_refunded {$invoice['total_refunded']} {$invoice['status']}\n";
