/* libwebsockets as a peer of conn's TestPeerInterop, which says what is read and printed:
 * lws FOLDER. */

#include <libwebsockets.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A message is what came, and is to go back. */
struct message {
    struct message *next;
    int text;
    size_t len, cap;
    unsigned char *bytes; /* after LWS_PRE bytes of room */
};

/* One connection at a time. */
static struct message *first, *last, *coming;
static int done, told;

static void say(const char *line)
{
    puts(line);
    fflush(stdout);
}

static void tell(const struct message *m)
{
    unsigned char sum[SHA256_DIGEST_LENGTH];
    char line[200];
    int n = snprintf(line, sizeof(line), "%s %zu ", m->text ? "text" : "binary", m->len);
    SHA256(m->bytes + LWS_PRE, m->len, sum);
    for (size_t i = 0; i < sizeof(sum); i++) n += snprintf(line + n, sizeof(line) - n, "%02x", sum[i]);
    say(line);
}

static void tell_close(const unsigned char *body, size_t len)
{
    char line[200];
    int code = len >= 2 ? body[0] << 8 | body[1] : 1005;
    snprintf(line, sizeof(line), "closed %d %.*s", code, len > 2 ? (int)len - 2 : 0, (const char *)body + 2);
    say(line);
    told = 1;
}

static void add(struct message *m, const void *in, size_t len)
{
    if (m->len + len > m->cap || !m->bytes) {
        m->cap = 2 * (m->len + len) + 100;
        m->bytes = realloc(m->bytes, LWS_PRE + m->cap);
    }
    memcpy(m->bytes + LWS_PRE + m->len, in, len);
    m->len += len;
}

static void drop(struct message *m)
{
    if (m) free(m->bytes);
    free(m);
}

static int received(struct lws *wsi, const void *in, size_t len)
{
    if (!coming) {
        coming = calloc(1, sizeof(*coming));
        coming->text = !lws_frame_is_binary(wsi);
    }
    add(coming, in, len);
    if (!lws_is_final_fragment(wsi)) return 0;
    struct message *m = coming;
    coming = NULL;
    tell(m);
    if (m->text && m->len >= 6 && !memcmp(m->bytes + LWS_PRE, "close ", 6)) {
        add(m, "", 1);
        char *reason;
        long code = strtol((char *)m->bytes + LWS_PRE + 6, &reason, 10);
        lws_close_reason(wsi, code, (unsigned char *)reason + 1, strlen(reason + 1));
        drop(m);
        return -1;
    }
    if (last)
        last->next = m;
    else
        first = m;
    last = m;
    lws_callback_on_writable(wsi);
    return 0;
}

static int writeable(struct lws *wsi)
{
    struct message *m = first;
    if (!m) return 0;
    if (!(first = m->next)) last = NULL;
    int n = lws_write(wsi, m->bytes + LWS_PRE, m->len, m->text ? LWS_WRITE_TEXT : LWS_WRITE_BINARY);
    int failed = n < (int)m->len;
    drop(m);
    if (first) lws_callback_on_writable(wsi);
    return failed ? -1 : 0;
}

static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
    (void)user;
    switch (reason) {
    case LWS_CALLBACK_RECEIVE:
    case LWS_CALLBACK_CLIENT_RECEIVE:
        return received(wsi, in, len);
    case LWS_CALLBACK_SERVER_WRITEABLE:
    case LWS_CALLBACK_CLIENT_WRITEABLE:
        return writeable(wsi);
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
        tell_close(in, len);
        return 0;
    case LWS_CALLBACK_CLOSED:
    case LWS_CALLBACK_CLIENT_CLOSED:
        if (!told) say("closed 0");
        done = 1;
        return 0;
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR: {
        char line[300];
        snprintf(line, sizeof(line), "error %.*s", (int)len, in ? (const char *)in : "");
        say(line);
        done = 1;
        return 0;
    }
    default:
        return 0;
    }
}

static const struct lws_protocols protocols[] = {
    {"none", callback, 0, 1 << 16, 0, NULL, 0},
    {NULL, NULL, 0, 0, 0, NULL, 0},
};

int main(int argc, char **args)
{
    (void)argc;
    char cert[300], key[300], ca[300], line[300], offer[300];
    snprintf(cert, sizeof(cert), "%s/cert.pem", args[1]);
    snprintf(key, sizeof(key), "%s/key.pem", args[1]);
    snprintf(ca, sizeof(ca), "%s/ca.pem", args[1]);
    lws_set_log_level(LLL_ERR | LLL_WARN, NULL);
    snprintf(line, sizeof(line), "version %s", lws_get_library_version());
    say(line);
    while (fgets(line, sizeof(line), stdin)) {
        char verb[20], scheme[20], mode[20];
        int port = 0, bits = 0;
        if (sscanf(line, "dial %19s %d %19s %d", scheme, &port, mode, &bits) == 4)
            strcpy(verb, "dial");
        else if (sscanf(line, "%19s %19s %19s %d", verb, scheme, mode, &bits) != 4)
            continue;
        int tls = !strcmp(scheme, "wss"), listens = strcmp(verb, "dial");
        int n = snprintf(offer, sizeof(offer), "permessage-deflate");
        if (!strcmp(mode, "alone")) n += snprintf(offer + n, sizeof(offer) - n, "; server_no_context_takeover; client_no_context_takeover");
        if (bits)
            snprintf(offer + n, sizeof(offer) - n, "; server_max_window_bits=%d; client_max_window_bits=%d", bits, bits);
        else
            snprintf(offer + n, sizeof(offer) - n, "; client_max_window_bits");
        const struct lws_extension packing[] = {
            {"permessage-deflate", lws_extension_callback_pm_deflate, offer},
            {NULL, NULL, NULL},
        };
        struct lws_context_creation_info info = {0};
        info.port = listens ? 0 : CONTEXT_PORT_NO_LISTEN;
        info.iface = listens ? "127.0.0.1" : NULL;
        info.protocols = protocols;
        info.extensions = strcmp(mode, "none") ? packing : NULL;
        info.pt_serv_buf_size = 1 << 16;
        info.gid = info.uid = -1;
        info.options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
        if (tls && listens) {
            info.ssl_cert_filepath = cert;
            info.ssl_private_key_filepath = key;
        }
        info.client_ssl_ca_filepath = ca;
        struct lws_context *context = lws_create_context(&info);
        if (!context) {
            say("error no context");
            continue;
        }
        done = told = 0;
        if (listens) {
            snprintf(line, sizeof(line), "port %d", lws_get_vhost_listen_port(lws_get_vhost_by_name(context, "default")));
            say(line);
        } else {
            struct lws_client_connect_info c = {0};
            c.context = context;
            c.address = c.host = "127.0.0.1";
            c.port = port;
            c.path = "/";
            c.ssl_connection = tls ? LCCSCF_USE_SSL : 0;
            c.local_protocol_name = protocols[0].name;
            if (!lws_client_connect_via_info(&c) && !done) {
                say("error not connected");
                done = 1;
            }
        }
        while (!done && lws_service(context, 0) >= 0) {}
        lws_context_destroy(context);
        drop(coming);
        coming = NULL;
        for (struct message *m; (m = first); drop(m)) first = m->next;
        last = NULL;
    }
    return 0;
}
