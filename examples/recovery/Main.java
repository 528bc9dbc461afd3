// A stock client (io.socket:socket.io-client 2.1) that continues its session: `java -cp … Main.java URL`. Prints what it
// receives in the room `news`. See docs/delivery.md.

import io.socket.client.IO;
import io.socket.client.Socket;
import io.socket.emitter.Emitter;
import java.net.URI;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.json.JSONObject;

public final class Main {
  /** The payload of each CONNECT, which the client reads again when it reconnects. */
  private static final Map<String, Object> AUTH = new ConcurrentHashMap<>();

  public static void main(String[] args) throws Exception {
    AUTH.put("roomwire", new JSONObject().put("recover", true));
    IO.Options options = new IO.Options();
    options.auth = payload();
    Socket socket = IO.socket(URI.create(args[0]), options);
    socket.on("roomwire:session", data -> {
      JSONObject session = (JSONObject) data[0];
      AUTH.put("pid", session.optString("pid"));
      if (session.isNull("offset")) AUTH.remove("offset");
      else AUTH.put("offset", session.optString("offset"));
      if (session.optBoolean("recovered")) return;
      System.out.println("new session " + session.opt("gap"));
      socket.emit("roomwire:join", "news");
    });
    socket.on("message", positioned(data -> System.out.println(data[0])));
    socket.connect();
  }

  /** A handler that keeps the position of each event, its last argument, once the event is handled. Every event needs it. */
  private static Emitter.Listener positioned(Emitter.Listener handler) {
    return data -> {
      handler.call(data);
      if (data[data.length - 1] instanceof String) AUTH.put("offset", data[data.length - 1]);
    };
  }

  /** The type allows only strings, but the client writes the map as JSON. */
  @SuppressWarnings("unchecked")
  private static Map<String, String> payload() {
    return (Map<String, String>) (Map<?, ?>) AUTH;
  }
}
