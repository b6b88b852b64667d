package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// wrongInput is something wrong that people write.
type wrongInput struct {
	args  []string
	files map[string]string
}

// wrongInputs are of every kind: conditions, rules, files, lists and flags.
func wrongInputs() (all []wrongInput) {
	for _, text := range wrongConditions {
		all = append(all, check("  - name: r\n    when: "+text+"\n    then: [destroy]\n"))
	}
	for _, text := range wrongRules {
		all = append(all, check("  - name: r\n    when: port == 80\n    "+text+"\n"))
	}
	for _, text := range wrongFiles {
		all = append(all, wrongInput{[]string{"rules", "check", "rules.yaml"}, map[string]string{"rules.yaml": text}})
	}
	for _, text := range wrongTests {
		all = append(all, wrongInput{[]string{"rules", "test", "rules_test.yaml"}, map[string]string{"rules_test.yaml": text}})
	}
	for _, list := range wrongLists {
		in := check("  - name: r\n    when: remote_addr not in banned\n    then: [destroy]\n")
		in.files["rules.yaml"] = strings.Replace(in.files["rules.yaml"], "rules:", "sets: {banned: {file: banned.txt}}\nrules:", 1)
		if list != absent {
			in.files["banned.txt"] = list
		}
		all = append(all, in)
	}
	for _, line := range wrongFlags {
		all = append(all, wrongInput{args: strings.Split(line, "|")})
	}
	for _, list := range []string{"directory/sub/rules.yaml", "directory/rules.txt"} {
		all = append(all, wrongInput{[]string{"rules", "check", "directory"}, map[string]string{list: "version: 1\n"}})
	}
	return all
}

// check checks a file of rules.
func check(rules string) wrongInput {
	return wrongInput{[]string{"rules", "check", "rules.yaml"}, map[string]string{"rules.yaml": "version: 1\nrules:\n" + rules}}
}

// wrongConditions are conditions as other languages write them, or mistyped ones.
var wrongConditions = []string{
	`state == "CLOSE_WAIT" AND age > 60`,
	`state = "CLOSE_WAIT"`,
	`state === "CLOSE_WAIT"`,
	`state == 'CLOSE_WAIT' & age > 60`,
	`state == CLOSE_WAIT`,
	`state == "CLOSEWAIT"`,
	`state == "UDP"`,
	`state is "CLOSE_WAIT"`,
	`state like "CLOSE%"`,
	`state <> "CLOSE_WAIT"`,
	`state in "CLOSE_WAIT"`,
	`state in ("CLOSE_WAIT", "LAST_ACK")`,
	`!orphan`,
	`not port == 80`,
	`port == "80"`,
	`port == 80,443`,
	`port in 80-90`,
	`port between 80 and 90`,
	`port == 99999`,
	`dport == 80`,
	`prt == 80`,
	`port in webb`,
	`remote_addr == 10.0.0.1`,
	`remote_addr == "10.0.0"`,
	`remote_addr == "10.0.0.0/8"`,
	`remote_addr in ["10.0.0.0/33"]`,
	`remote_addr in 10.0.0.0/8`,
	`remote_addr == 2001:db8::1`,
	`age > 5m`,
	`age > "5 minutes"`,
	`age > 5 min`,
	`age > 1h30m`,
	`age == 60`,
	`age`,
	`owned == "yes"`,
	`process == nginx`,
	`process == "nginx`,
	`process in [nginx, java]`,
	`process != null`,
	`contains(process, "ngin")`,
	`exe == /usr/sbin/nginx`,
	"state == \"CLOSE_WAIT\" # hung\n      and port == 80",
	`process =~ "ngin"`,
	`process ~ "ngin"`,
	`process matches "ngin("`,
	`process == "my #1"`,
	`port == 80 and`,
	`port == 80 # and state == "CLOSE_WAIT"`,
	`"nginx" == process`,
	`count > 100`,
	`result == "refused"`,
	`len(process) > 3`,
	`known(prot)`,
	`lookup(timeouts, process)`,
	`process.startsWith("ng")`,
	`recv_queue / 2 > 10`,
	`if port == 80 then true`,
	`(port == 80`,
	`port == 4 and port == 5`,
	`[port == 80, owned]`,
	`{state: LISTEN}`,
	``,
	`true`,
	`state == "LISTEN"`,
	`protocol == "udp"`,
	`state == "TIME_WAIT" and age > 120`,
}

// wrongRules are keys of a rule.
var wrongRules = []string{
	`then: destroy`,
	`then: [destroi]`,
	`then: [kill]`,
	`then: [KILL]`,
	`then: [signal TERM]`,
	`then: [{signal: NOPE}]`,
	`then: [signal]`,
	`then: [{signal: 9}]`,
	`then: [kill -9]`,
	`then: [{signal: STOP}]`,
	`then: [{destroy: {udpp: true}}]`,
	`then: [{destroy: {udp: maybe}}]`,
	`then: [{destroy: {method: netlnk}}]`,
	`then: [{destroy: true}]`,
	`then: [{signal: TERM, wait: soon}]`,
	`then: [{signal: {signal: TERM, protected: true}}]`,
	`then: [{wait: 10s}]`,
	`then: [{shutdown: reading}]`,
	`then: [{repair: {idle: 0s}}]`,
	`then: [{exec: notify.sh}]`,
	`then: [{log: loud}]`,
	`then: [{restart: {timeout: 2h}}]`,
	"then: [restart]\n    limits: {cooldown: 0}",
	`then: []`,
	"then: [destroy]\n    during: 22:00-06:00",
	"then: [destroy]\n    during: [10pm-6am]",
	"then: [destroy]\n    mode: on",
	"then: [destroy]\n    for: 5 minutes",
	"then: [destroy]\n    for: -5",
	"then: [destroy]\n    canary: 5",
	"then: [destroy]\n    limits: 5",
	"then: [destroy]\n    limits: {per_cycle: \"5\"}",
	"then: [destroy]\n    limits: {per_hour: 5}",
	"then: [destroy]\n    notify: ops",
	"then: [destroy]\n    notify: [ops]",
	"then: [destroy]\n    group: pid",
	"then: [destroy]\n    having: count > 5",
	"then: [destroy]\n    group: ip\n    having: count > 5",
	"then: [destroy]\n    group: port\n    having: port > 5",
	"then: [destroy]\n    unles: owned",
	"then: [destroy]\n   unless: owned",
	"then: [destroy]\n\tunless: owned",
	"then: [destroy]\n    labels: urgent",
	`mode: enforce`,
	`when: port == 81`,
	"then: [log, destroy]",
}

// wrongTests are test files.
var wrongTests = []string{
	"",
	"tests: []\n",
	"rules: [builtin]\ntests: {name: x}\n",
	"rules: [gone.yaml]\ntests: [{name: x, sockets: {a: {state: LISTEN}}, expect: {a: none}}]\n",
	"rules: [builtin]\ntests:\n  - name: x\n    sockets: {a: {stat: CLOSE_WAIT}}\n    expect: {a: none}\n",
	"rules: [builtin]\ntests:\n  - name: x\n    sockets: {a: {state: CLOSED_WAIT, age: 1 minute}}\n    expect: {b: destroy}\n",
	"rules: [builtin]\nvars: {closewait_timeout: 5}\ntests: [{name: x, sockets: {a: {state: LISTEN}}, expect: {a: none}}]\n",
	"rules: [builtin]\ntests: [{name: x, sockets: {a: {state: LISTEN}}, expect: {a: {rule: closewait, decision: act}}}]\n",
	"rules: [builtin]\ntests: [{name: x, sockets: {a: {state: LISTEN}}, steps: [{advance: 1m}]}]\n",
	"rules: [builtin]\ntests: [{name: x, sockets: {a: {state: LISTEN}}, steps: [{wait: 1m, expect: {a: none}}]}]\n",
	"version: 1\nrules: [{name: r, when: port == 80, then: [destroy]}]\n",
}

// wrongFiles are whole files.
var wrongFiles = []string{
	"",
	"rules: []\n",
	"version: 2\n",
	"version: 1\nrule: []\n",
	"version: 1\nrules: {name: r}\n",
	"version: 1\nrules:\n- name: r\n  when: port == 1\n  then: [log]\n- name: r\n  when: port == 2\n  then: [log]\n",
	"version: 1\nrules:\n- name: my rule\n  when: port == 1\n  then: [log]\n",
	"version: 1\nrules:\nname: r\n",
	"version: 1\nvars: {state: 1}\n",
	"version: 1\nvars: {close-wait: 1}\n",
	"version: 1\nsets: {web: 80}\n",
	"version: 1\nsets: {web: web.txt}\n",
	"version: 1\nsets: {web: [80, 10.0.0.1]}\n",
	"version: 1\nmacros: {hung: hang}\n",
	"version: 1\nmacros: {a: b, b: a}\n",
	"version: 1\nprotect:\n- port == 22\n",
	"version: 1\nprotect:\n- {when: port == 22}\n",
	"version: 1\ntimezone: Vienna\n",
	"version: 1\nnetns: {a: b}\n",
	"version: 1\nactions: {ops: {url: \"http://localhost/\"}}\n",
	"version: 1\nactions: {ops: {plugin: slack}}\n",
	"version: 1\nactions: {ops: {plugin: webhook}}\n",
	"version: 1\nactions: {ops: {plugin: webhook, url_env: X, rate: 61}}\n",
	"version: 1\nactions: {ops: {plugin: webhook, url_env: X, repeat: 30s}}\n",
	"version: 1\nactions: {ops: {plugin: webhook, url_env: X, resolved: maybe}}\n",
	"version: 1\nactions: {ops: {plugin: webhook, url_env: X, template: '{\"text\": \"{{.text}}\"}'}}\n",
	"version: 1\nactions: {ops: {plugin: exec, program: mail}}\n",
	"version: 1\ndefaults: {breaker: off}\n",
	"version: 1\n---\nversion: 1\n",
	"{\"version\": 1, \"rules\": [}\n",
	"port == 80\n",
	"\xff\xfe",
}

// absent is a list whose file does not exist.
const absent = "-"

var wrongLists = []string{
	"",
	"# nothing yet\n",
	"10.0.0.1\n10.0.0.0/33\n",
	"10.0.0.1 10.0.0.2\n",
	"10.0.0.1,10.0.0.2\n",
	"10.0.0.9-10.0.0.1\n",
	"10.0.0.1\n80\n",
	"10.0.0.1\nexample.org\n",
	"example.org\n",
	"10.0.0.1\n\xff\xfe\n",
	absent,
}

// wrongFlags are command lines, with | between their arguments.
var wrongFlags = []string{
	"status|now",
	"status|--control|/nonexistent/control.sock|--state-file|none",
	"reload|--control|/nonexistent/control.sock",
	"reload|--control|",
	"reload|--timeout|soon",
	"reload|--timeout|0s",
	"watch|--rules|builtin|--state-file|none|--control|none|--control-group|adm",
	"watch|--rules|builtin|--state-file|none|--control-group|no-such-group",
	"watch|--rules|builtin|--state-file|none|--control|/dev/null",
	"rules|diff|builtin",
	"rules|diff|builtin|nix.yaml",
	"rules|diff|builtin|",
	"rules|diff|-|-",
	"rules|diff|builtin|builtin|--var|nix=1",
	"rules|diff|builtin|builtin|--rule|close-wait",
	"list|-p|nosuch",
	"record",
	"record|",
	"record|leak.jsonl|port == |x",
	"record|leak.jsonl|-p|nosuch",
	"record|leak.jsonl|--cmdline|--anonymise",
	"record|/nosuch/leak.jsonl",
	"record|leak.jsonl|--from|other.jsonl",
	"list|--from|nosuch.jsonl",
	"list|--from|",
	"audit|--from|leak.jsonl|--observe|60s",
	"list|--from|leak.jsonl|--dead",
	"run|--from|leak.jsonl",
	"kill|--from|leak.jsonl|-p|80",
	"list|--remote-port|99999",
	"list|--remote-port|nosuch",
	"list|--remote-port|",
	"list|-p|99999",
	"list|-p|90-80",
	"list|-p|",
	"list|-s|CLOSEWAIT",
	"list|--pid|nginx",
	"list|--peer|10.0.0",
	"list|--peer|10/33",
	"list|--peer|10.0.0.1,example.org",
	"list|--peer|10.0.0.1:",
	"list|--peer|10.0.0.1:0x50",
	"list|--peer|fd7a::1:443/",
	"list|--peer|[fd7a::1]443",
	"list|--peer|rustdesk",
	"list|--peer|rustdesk:443",
	"list|--proto|icmp",
	"list|-p",
	"list|--by|prot",
	"list|--by|pods,foo",
	"list|--by|",
	"list|--columns|state,prt",
	"list|--sort|state,port",
	"list|--by|state|--sort|port",
	"list|--top|many",
	"list|--netns|a,,b",
	"list|-o|yaml",
	"list|state|==|CLOSE_WAIT",
	"list|state == CLOSE_WAIT",
	"list|",
	"list|--owners|ebpf",
	"lsit",
	"kill",
	"audit|--var|close_wait_timeout=-1",
	"audit|--var|close_wait_timeout=soon",
	"audit|--var|close_wait_timeout",
	"audit|--var|close_wait=5",
	"audit|--var|escalate=kil",
	"audit|--var|exclude_ports=ssh",
	"audit|--var|close_wait_timeout+=5",
	"audit|--rule|close_wait",
	"audit|--rules|none.yaml",
	"audit|--rules|",
	"audit|--breaker|lots",
	"audit|--breaker|5/200%",
	"audit|--observe|soon",
	"audit|--exclude-ports|22",
	"run|--live|now",
	"run|--live|--dry-run",
	"watch|--interval|0",
	"watch|--interval|5 minutes",
	"watch|--listen|9842",
	"watch|--listen|localhost",
	"watch|--listen|[::1:9842",
	"watch|--listen|127.0.0.1:http",
	"watch|--listen|127.0.0.1:99842",
	"watch|--listen|metrics.example.org:9842",
	"watch|--listen|",
	"watch|--web-config|web.yaml",
	"watch|--listen|:9842|--metrics-top|0",
	"watch|--metrics-top|5",
	"run|--metrics-file|metrics",
	"run|--metrics-file|/nonexistent/sockwarden.prom",
	"run|--metrics-top|5",
	"pause|forever",
	"silence|ad",
	"silence|list|now",
	"rules|chekc",
	"rules|fields|prot",
	"plugins|destroi",
	"notify|test",
	"doctor|now",
	"help|audti",
}

// Every wrong input is answered with what to write instead. The golden file has each
// input with its answer, for people to read: UPDATE_GOLDEN=1 writes it anew.
func TestWrongInputs(t *testing.T) {
	path := "testdata/wrong-inputs.golden"
	want, err := os.ReadFile(path)
	if err != nil && !update {
		t.Fatal(err)
	}
	var got strings.Builder
	dir, inputs := t.TempDir(), wrongInputs()
	home, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for i, in := range inputs {
		here := fmt.Sprintf("%s/%d", dir, i)
		in.write(t, here)
		t.Chdir(here)
		got.WriteString(in.answer(t))
	}
	t.Chdir(home)
	if len(inputs) < 40 {
		t.Errorf("only %d wrong inputs", len(inputs))
	}
	if update {
		if err := os.WriteFile(path, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("UPDATE_GOLDEN=1 writes %s: -want +got\n%s", path, diff)
	}
}

func (in *wrongInput) write(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range in.files {
		path := dir + "/" + name
		if err := os.MkdirAll(path[:strings.LastIndex(path, "/")], 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// answer returns the input with the exit code and what sockwarden says. It must say
// something: an error, or a warning about what is valid.
func (in *wrongInput) answer(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	quoted := make([]string, len(in.args))
	for i, arg := range in.args {
		if quoted[i] = arg; arg == "" || strings.ContainsAny(arg, " |") {
			quoted[i] = "'" + arg + "'"
		}
	}
	fmt.Fprintf(&b, "$ sockwarden %s\n", strings.Join(quoted, " "))
	for _, name := range slices.Sorted(maps.Keys(in.files)) {
		fmt.Fprintf(&b, "-- %s --\n%s", name, strings.ToValidUTF8(in.files[name], "\ufffd"))
	}
	var stdout, stderr bytes.Buffer
	code := execute(t.Context(), in.args, strings.NewReader(""), &stdout, &stderr)
	said := stderr.String() + stdout.String()
	if code == exitOK && !strings.Contains(said, "warning: ") || code != exitOK && !strings.Contains(said, "error: ") {
		t.Errorf("%q, exit code %d: nothing is wrong? %s", in, code, said)
	}
	said = repeatable[1].re.ReplaceAllString(said, repeatable[1].with)
	fmt.Fprintf(&b, "=> exit code %d\n%s\n", code, said)
	return b.String()
}
