// A stock client (socket_io_client 3.1) that continues its session: `dart run main.dart URL`. Prints what it receives in
// the room `news`. See docs/delivery.md.
import 'package:socket_io_client/socket_io_client.dart' as io;

void main(List<String> arguments) {
  final options = io.OptionBuilder().setTransports(['websocket']).setAuth({
    'roomwire': {'recover': true},
  }).build();
  final socket = io.io(arguments.first, options);
  // Handlers of events with several arguments receive a list of them; the position is one, the last.
  socket.on('roomwire:session', (data) {
    final session = data[0];
    if (session['recovered'] == true) return;
    print('new session ${session['gap'] ?? ''}');
    socket.emit('roomwire:join', 'news');
  });
  socket.on('message', (data) => print(data[0]));
}
