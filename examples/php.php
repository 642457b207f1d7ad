<?php
// Matches two customers: php php.php [managerCuRefNo customerCuRefNo]

declare(strict_types=1);

final class ApiError extends RuntimeException
{
    public function __construct(
        public readonly string $apiCode,
        string $text,
        public readonly ?string $field,
        public readonly ?string $requestId,
    ) {
        parent::__construct("$apiCode: $text");
    }
}

/** Posts to an endpoint; a server that is busy is asked again when it says so. Any call may be sent again. */
function post(string $path, array $body, int $attempts = 5): array
{
    $url = getenv('CUSTOMER_MATCH_URL') ?: 'http://127.0.0.1:8080';
    $key = getenv('CUSTOMER_MATCH_KEY') ?: 'PRODPGrFxpGEtrOZfuWhnoJohUYBXuOE';
    $context = stream_context_create(['http' => [
        'method' => 'POST',
        // The key goes as a header: an address ends up in logs.
        'header' => ["Authorization: Bearer $key", 'Content-Type: application/json'],
        'content' => json_encode($body, JSON_THROW_ON_ERROR),
        'timeout' => 30,
        'ignore_errors' => true,
    ]]);
    for ($attempt = 1; ; $attempt++) {
        $text = file_get_contents($url . $path, false, $context);
        if ($text === false) {
            throw new RuntimeException("no answer from $url");
        }
        [$status, $headers] = parse($http_response_header);
        $answer = json_decode($text, true, 512, JSON_THROW_ON_ERROR);
        if ($status === 200) {
            return $answer;
        }
        if (!in_array($status, [429, 503], true) || $attempt === $attempts) {
            $error = $answer['error'];
            $text = "{$error['message']} {$error['description']}";
            throw new ApiError($error['code'], $text, $error['field'] ?? null, $headers['x-request-id'] ?? null);
        }
        sleep((int) ($headers['retry-after'] ?? 1));
    }
}

/** The status and the headers by their names in lower case. */
function parse(array $lines): array
{
    $headers = [];
    foreach (array_slice($lines, 1) as $line) {
        [$name, $value] = explode(':', $line, 2);
        $headers[strtolower($name)] = trim($value);
    }
    return [(int) explode(' ', $lines[0])[1], $headers];
}

try {
    $answer = post('/api/v1/customer/customer-match-customer', [
        'managerCuRefNo' => $argv[1] ?? '1cGIHvFoQDGLAbcA',
        'customerCuRefNo' => $argv[2] ?? '5CmsaVNgAQqRqoen',
        'notice' => 'Customer prefers cardio training. Contact obtained via the website.',
    ]);
    echo 'matched: ', json_encode($answer), "\n";
} catch (ApiError $error) {
    $advice = match (true) {
        $error->apiCode === 'INTERNAL_RESOURCE_NOT_FOUND' => 'one of the two customers does not exist',
        $error->apiCode === 'INTERNAL_VALIDATION_FAILED' => "correct {$error->field}, sending it again will not help",
        in_array($error->apiCode, ['PUBLIC_API_KEY_TOO_MANY_REQUEST', 'INTERNAL_SERVICE_UNAVAILABLE'], true) => 'still busy, try again later',
        str_starts_with($error->apiCode, 'PUBLIC_API_KEY_') => 'tell whoever looks after the API key',
        default => "request {$error->requestId}",
    };
    fwrite(STDERR, "{$error->getMessage()}: $advice\n");
    exit(1);
}
