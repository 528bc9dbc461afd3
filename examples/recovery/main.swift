// A stock client (socket.io-client-swift 16.1) that continues its session: the URL is its argument. Prints what it
// receives in the room `news`. See docs/delivery.md.
import Foundation
import SocketIO

let url = URL(string: CommandLine.arguments[1])!
let manager = SocketManager(socketURL: url, config: [.reconnectWait(1), .reconnectWaitMax(2)])
let socket = manager.defaultSocket
/// The payload of each CONNECT.
var auth: [String: Any] = ["roomwire": ["recover": true]]

socket.on("roomwire:session") { data, _ in
    guard let session = data.first as? [String: Any] else { return }
    auth["pid"] = session["pid"] as? String
    auth["offset"] = session["offset"] as? String
    if session["recovered"] as? Bool == true { return }
    print("new session", session["gap"] ?? "")
    socket.emit("roomwire:join", "news")
}

/// Handles an event, then keeps its position, the last argument. Every event needs this.
func on(_ event: String, _ handler: @escaping ([Any]) -> Void) {
    socket.on(event) { data, _ in
        handler(data)
        if let offset = data.last as? String { auth["offset"] = offset }
    }
}

on("message") { data in print(data[0]) }

// The client would send the payload of its first connection again.
socket.on(clientEvent: .reconnectAttempt) { _, _ in socket.connect(withPayload: auth) }
socket.connect(withPayload: auth)
RunLoop.main.run()
