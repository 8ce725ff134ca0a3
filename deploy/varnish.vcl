# tagwait behind Varnish 6 or later: HTTP/1.1, two nodes. Varnish has no TLS: put a proxy with TLS in front.
# On the nodes: TAGWAIT_TRUST_PROXY=1. With a proxy in front, change X-Forwarded-For below and set 2.
# Start: varnishd -f varnish.vcl -p pipe_timeout=40 -p http_req_hdr_len=20k -p http_req_size=36k
# (a hold is 25 s and pipe_timeout 15 s more; the others admit 16 KiB of cookies)
vcl 4.1;
import directors;

probe alive { .url = "/healthz"; .interval = 1s; .window = 1; .threshold = 1; .initial = 1; }
backend one { .host = "127.0.0.1"; .port = "11000"; .connect_timeout = 2s; .probe = alive; }
backend two { .host = "127.0.0.1"; .port = "11100"; .connect_timeout = 2s; .probe = alive; }

sub vcl_init {
    # round robin, not fallback: a draining node still answers, and must not get every poll
    new nodes = directors.round_robin();
    nodes.add_backend(one);
    nodes.add_backend(two);
}

sub vcl_recv {
    set req.backend_hint = nodes.backend();
    # a client's own X-Forwarded-For is replaced; behind another proxy: req.http.X-Forwarded-For + ", " + client.ip
    set req.http.X-Forwarded-For = client.ip;
    if (req.url ~ "^/status/") {
        unset req.http.Cookie;
        # pipe, not pass: with pass, the node holds the poll of a page that has left to its end
        return (pipe);
    }
}

sub vcl_pipe {
    if (req.http.Upgrade ~ "(?i)^websocket$") {
        set bereq.http.Upgrade = req.http.Upgrade;
        set bereq.http.Connection = "Upgrade";
    } else {
        # one request for each piped connection: the next one must pass vcl_recv again
        set bereq.http.Connection = "close";
    }
}
