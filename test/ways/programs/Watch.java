// Prints each value of a key as a line of JSON, by the WebSocket of java.net.http: Watch.java URL KEY.
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.regex.Pattern;

class Watch implements WebSocket.Listener {
    // enough for the values of a test: a real program has a library for JSON
    static final Pattern ANSWER = Pattern.compile(
        "\\{\"code\":0,\"message\":\"success\",\"data\":(\"[^\"]*\"|\\{[^}]*\\}|\\d+),\"cursor\":\"([^\"]*)\"(.*)\\}");
    static String since = "";
    static long retry;

    final CompletableFuture<Boolean> over = new CompletableFuture<>();
    final StringBuilder text = new StringBuilder();

    @Override
    public CompletionStage<?> onText(WebSocket socket, CharSequence part, boolean last) {
        text.append(part);
        socket.request(1);
        if (!last) return null;
        var answer = ANSWER.matcher(text.toString());
        if (!answer.matches()) throw new IllegalStateException(text.toString());
        text.setLength(0);
        since = answer.group(2);
        System.out.println(answer.group(1));
        if (answer.group(3).startsWith(",\"final\":true")) over.complete(true);
        return null;
    }

    @Override
    public CompletionStage<?> onClose(WebSocket socket, int code, String reason) {
        if (code == 1012) retry = Long.parseLong(reason.replaceAll("\\D*-6\\D*", "").replaceAll("\\D", ""));
        over.complete(false);
        return null;
    }

    @Override
    public void onError(WebSocket socket, Throwable error) {
        over.complete(false);
    }

    public static void main(String[] args) throws Exception {
        var client = HttpClient.newHttpClient();
        var address = URI.create(args[0].replaceFirst("http", "ws") + "/status/socket");
        while (true) {
            retry = 100;
            var watch = new Watch();
            try {
                var socket = client.newWebSocketBuilder().subprotocols("tagwait.1").buildAsync(address, watch).join();
                socket.sendText("{\"watch\":\"" + args[1] + "\",\"since\":\"" + since + "\"}", true).join();
                if (watch.over.join()) System.exit(0);
            } catch (java.util.concurrent.CompletionException refused) {
                // the node is away
            }
            Thread.sleep(retry);
        }
    }
}
