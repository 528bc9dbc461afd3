<?php
// The backend of the chat: login, webhook and announcements, without packages. Run by PHP's own server, or by any other.

declare(strict_types=1);

/** A JWT for an hour; its owner is in the room `lobby` from the start. */
function token(string $user): string
{
    $encode = fn (string $part): string => rtrim(strtr(base64_encode($part), '+/', '-_'), '=');
    $claims = ['sub' => $user, 'iat' => time(), 'exp' => time() + 3600, 'roomwire' => ['rooms' => ['lobby']]];
    $text = $encode(json_encode(['alg' => 'HS256', 'typ' => 'JWT'])) . '.' . $encode(json_encode($claims));
    return $text . '.' . $encode(hash_hmac('sha256', $text, getenv('CHAT_TOKEN_SECRET'), true));
}

/** Whether the node sent this request, within the last five minutes. */
function is_signed(string $body): bool
{
    $sent = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '0';
    if (abs(time() - (int) $sent) > 300) {
        return false;
    }
    $secret = base64_decode(preg_replace('/^whsec_/', '', getenv('CHAT_WEBHOOK_SECRET')));
    $signed = ($_SERVER['HTTP_WEBHOOK_ID'] ?? '') . ".$sent.$body";
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', $signed, $secret, true));
    foreach (explode(' ', $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '') as $given) {
        if (hash_equals($expected, $given)) {
            return true;
        }
    }
    return false;
}

function rejected(string $code, string $message): array
{
    return ['error' => ['code' => $code, 'message' => $message]];
}

/** What the node does for an event of a client. */
function on_webhook(string $type, array $data): array
{
    $user = $data['user'] ?? null;
    $rooms = $data['session']['rooms'] ?? ['lobby'];
    $tell = fn (string $room, string $event, mixed ...$args): array =>
        ['emit' => ['rooms' => [$room], 'except' => [$data['socket']], 'event' => $event, 'args' => [$room, $user, ...$args]]];
    if ($type === 'disconnect') {
        // The socket is gone, so there is nothing to decide; the others are told by the API.
        request_api('batch', ['items' => array_map(fn ($room) => $tell($room, 'left'), $rooms)]);
        return [];
    }
    [$room, $content] = $data['args'] + [null, null];
    if (!is_string($room) || strlen($room) < 1 || strlen($room) > 40) {
        return rejected('room_invalid', 'a room has 1 to 40 characters');
    }
    $done = [['ok' => true]];
    if ($data['event'] === 'join') {
        $actions = [['join' => ['rooms' => [$room]]], $tell($room, 'joined')];
        return ['session' => ['rooms' => array_values(array_unique([...$rooms, $room]))], 'actions' => $actions, 'ack' => $done];
    }
    if (!in_array($room, $rooms, true)) {
        return rejected('not_a_member', "join $room first");
    }
    if ($data['event'] === 'leave') {
        $actions = [['leave' => ['rooms' => [$room]]], $tell($room, 'left')];
        return ['session' => ['rooms' => array_values(array_diff($rooms, [$room]))], 'actions' => $actions, 'ack' => $done];
    }
    if ($data['event'] === 'typing') {
        $typing = $tell($room, 'typing', $content === true);
        $typing['emit']['volatile'] = true;
        return ['actions' => [$typing]];
    }
    if ($data['event'] !== 'message' || !is_string($content) || $content === '') {
        return rejected('message_invalid', 'a message is a text');
    }
    $message = ['rooms' => [$room], 'event' => 'message', 'args' => [$room, $user, $content]];
    return ['actions' => [['emit' => $message]], 'ack' => $done];
}

/** Requests something of the node by itself. */
function request_api(string $verb, array $body): array
{
    $headers = ['Authorization: Bearer ' . getenv('CHAT_API_KEY'), 'Content-Type: application/json'];
    $options = ['http' => ['method' => 'POST', 'header' => $headers, 'content' => json_encode($body), 'timeout' => 5]];
    return json_decode(file_get_contents(getenv('CHAT_API') . "/$verb", false, stream_context_create($options)), true);
}

function respond(int $status, array $answer): void
{
    http_response_code($status);
    $body = json_encode((object) $answer);
    header('Content-Type: application/json');
    header('Content-Length: ' . strlen($body));
    echo $body;
}

if ($_SERVER['REQUEST_METHOD'] === 'GET') {
    readfile(__DIR__ . '/../page.html');
    return;
}
$body = file_get_contents('php://input');
$path = $_SERVER['REQUEST_URI'];
if ($path === '/roomwire' && !is_signed($body)) {
    respond(401, []);
    return;
}
$request = json_decode($body, true, 64, JSON_THROW_ON_ERROR);
if ($path === '/roomwire') {
    respond(200, on_webhook($request['type'], $request['data']));
} elseif ($path === '/login' && ($request['name'] ?? '') !== '') {
    // A real login checks a password here.
    respond(200, ['token' => token($request['name'])]);
} elseif ($path === '/announce') {
    $emit = ['everybody' => true, 'event' => 'announcement', 'args' => [$request['text']], 'counts' => true];
    respond(200, request_api('emit', $emit));
} else {
    respond(404, []);
}
