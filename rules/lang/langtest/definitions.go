package langtest

// RandomDefinitions is what random conditions use besides fields, as a rules file
// says it.
const RandomDefinitions = `
vars:
  limit: 60
  ratio: 0.5
  negative: -5
  yes_var: true
  no_var: false
  server: hbbs
  empty: []
  web: [80, 443, 8000..8099]
  servers: [hbbs, nginx]
  timeouts: {hbbs: 30, nginx: 1m}
  words: {hbbs: relay, nginx: web}
sets:
  tailnet: [100.64.0.0/10, "fd7a:115c:a1e0::/48"]
  everyone6: ["::/0"]
  mapped10: ["::ffff:10.0.0.0/104"]
  gaps: [1..3, 5, 7-9]
macros:
  hung: state == "CLOSE_WAIT" and age > limit
  local: port in rustdesk or remote_port in web
  both: hung or not local
  who: process
  listed: '[80, 21115..21119]'
`

// Definitions is what the tables of the tests of the language use besides fields.
const Definitions = `
vars:
  close_wait_timeout: 60
  ratio: 0.5
  negative: -5
  exclude_ports: [22]
  include_ports: []
  web: [80, 443, "8000-8099", "9000:9001"]
  quiet: true
  loud: False
  server: hbbs
  servers: [hbbs, hbbr]
  numbered: {value: ["80", nginx], type: strings}
  escalate: {value: term, one_of: [none, term, kill]}
  timeouts: {hbbs: 30, postgres: 600}
  spans: {hbbs: 5m, nginx: 1h30m, postgres: 90}
  words: {hbbs: relay, postgres: database}
  by_port: {21117: 10, 80: 20}
  nothing: {}
sets:
  tailnet: [100.64.0.0/10, "fd7a:115c:a1e0::/48"]
  peers: [203.0.113.0/24, 198.51.100.7]
  mapped: ["::ffff:203.0.113.0/120"]
  names: [nginx, hbbs]
  gaps: [1..3, 5, 7-9]
macros:
  hung: state == "CLOSE_WAIT" and age > close_wait_timeout
  local: port in rustdesk
  both: hung and local
  minute: 60
  list: "[80, 21115..21119]"
  who: process
  third: remote_addr in peers
  folded: include_ports == [] or port in include_ports
`
