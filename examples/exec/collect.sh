#!/bin/sh
# A source of records without compiling: one JSON object per line, with the
# names of the fields of the rules language. A record is acted on only if it has
# a cookie that the kernel confirms; this one has none, so it is only listed.
#
#   sockwarden list --collect /usr/local/lib/sockwarden/collect.sh 'port == 7777'
cat <<'END'
{"protocol":"tcp","state":"CLOSE_WAIT","local_addr":"192.0.2.1","port":7777,"remote_addr":"192.0.2.9","remote_port":4000,"recv_queue":1}
END
