<?php
// A recurring invoice by the ApiPay contract: billed early and paid, changed, paused, resumed. PHP 8, no packages.
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

// Every period is a bill that the payer confirms: Kaspi has no auto-debit.
$wanted = ['amount' => 10000, 'phone_number' => '87011234567', 'description' => 'Membership', 'interval' => 'monthly'];
$asked = $wanted + ['start_date' => date('Y-m-d', strtotime('+30 days'))];
$recurring = call('POST', '/api/recurring-invoices', $asked, 'member-' . bin2hex(random_bytes(8)));
echo "created {$recurring['id']} {$recurring['status']} {$recurring['next_billing_date']}\n";
$path = "/api/recurring-invoices/{$recurring['id']}";

// The first period, before its date.
$invoice = call('POST', "$path/bill-now");
echo "billed {$invoice['id']} {$invoice['amount']} {$invoice['status']}\n";

// You are the payer: ApiPay has no sandbox, so this one request is of the other contract, by its id there.
call('POST', "/api/v1/sandbox/invoices/{$invoice['tolem_id']}/simulate", ['status' => 'paid']);
$invoice = call('GET', "/api/invoices/{$invoice['id']}");
echo "paid {$invoice['id']} {$invoice['status']}\n";

// It holds from the next period.
$recurring = call('PUT', $path, ['amount' => 12000]);
echo "changed {$recurring['id']} {$recurring['amount']}\n";
foreach (['pause', 'resume', 'cancel'] as $action) {
    $recurring = call('POST', "$path/$action");
    echo "$action {$recurring['id']} {$recurring['status']}\n";
}
