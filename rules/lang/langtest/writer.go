package langtest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"sockwarden/collectors"
)

// Said is one expression twice: in the language of the rules, and in that of
// expr without anything of ours.
type Said struct{ Rules, Plain string }

func same(text string) Said { return Said{text, text} }

func (s Said) parens() Said { return Said{"(" + s.Rules + ")", "(" + s.Plain + ")"} }

// Writer writes random conditions and records.
type Writer struct{ *rand.Rand }

// NewWriter returns a writer whose work is another for each seed and stream, and the
// same each time.
func NewWriter(seed, stream uint64) Writer {
	return Writer{rand.New(rand.NewPCG(seed, stream))}
}

// Pick returns one of the values.
func Pick[T any](w Writer, from ...T) T { return from[w.IntN(len(from))] }

func (w Writer) join(op string, parts ...Said) Said {
	var rules, plain []string
	for _, p := range parts {
		rules, plain = append(rules, p.Rules), append(plain, p.Plain)
	}
	return Said{strings.Join(rules, op), strings.Join(plain, op)}
}

// Condition writes a condition of at most the given depth.
func (w Writer) Condition(depth int) Said {
	if depth == 0 || w.IntN(5) == 0 {
		return w.leaf()
	}
	a, b := w.Condition(depth-1), w.Condition(depth-1)
	switch w.IntN(9) {
	case 0, 1:
		return w.join(Pick(w, " and ", " && ", "\n and "), a, b) // binds as it happens
	case 2, 3:
		return w.join(Pick(w, " or ", " || "), a, b)
	case 4:
		return w.join(" and ", a.parens(), b.parens())
	case 5:
		return w.join(" or ", a.parens(), b.parens())
	case 6:
		return w.join(Pick(w, " == ", " != "), a.parens(), b.parens())
	}
	n := Pick(w, "not ", "!", "not not ")
	return Said{n + a.parens().Rules, n + a.parens().Plain}
}

func (w Writer) leaf() Said {
	switch w.IntN(15) {
	case 0:
		return same(Pick(w, append([]string{"true", "false", "yes_var", "no_var"}, boolNames...)...))
	case 1, 2:
		return w.numbers()
	case 3:
		return w.seconds()
	case 4, 5:
		return w.age()
	case 6, 7:
		return w.state()
	case 8:
		return w.enum()
	case 9:
		return w.strings()
	case 10:
		return w.addresses()
	case 11:
		return w.ports(Pick(w, portNames...))
	case 12, 13:
		return w.About(Pick(w, collectors.AllFields()...).Field)
	}
	return w.named()
}

func (w Writer) comparison() string { return Pick(w, " == ", " != ", " < ", " <= ", " > ", " >= ") }

// number writes a number.
func (w Writer) number(depth int) Said {
	if depth > 0 && w.IntN(3) == 0 {
		return w.join(Pick(w, " + ", " - ", " * "), w.number(depth-1).parens(), w.number(depth-1).parens())
	}
	switch w.IntN(4) {
	case 0:
		return same(Pick(w, "0", "1", "2", "5", "60", "300", "0x10", "2.5", "1_000", "-5", "limit", "ratio", "negative"))
	case 1:
		key := Pick(w, "process", "user", `"hbbs"`)
		def := Pick(w, "45", "60")
		return Said{fmt.Sprintf("lookup(timeouts, %s, %s)", key, def), fmt.Sprintf("(%[1]s in timeouts ? timeouts[%[1]s] : %[2]s)", key, def)}
	}
	return same(Pick(w, slices.Concat(numberNames, secondsNames, portNames)...))
}

func (w Writer) numbers() Said {
	a := w.join(" + ", same(Pick(w, numberNames...)), w.number(1).parens())
	if w.IntN(4) == 0 {
		op := Pick(w, " < ", " <= ")
		return Said{a.Rules + op + "port" + op + "9000", a.Plain + op + "port" + op + "9000"}
	}
	return w.join(w.comparison(), a, w.number(2).parens())
}

// seconds compares a time with a duration.
func (w Writer) seconds() Said {
	field := same(Pick(w, secondsNames...))
	d := w.duration()
	if w.IntN(3) == 0 {
		field, d = d, field
	}
	return w.join(w.comparison(), field, d)
}

func (w Writer) duration() Said {
	return Pick(w, same("60"), same("1.5"), same("0"), Said{`"1m"`, "60"}, Said{`"90s"`, "90"}, Said{`"1h"`, "3600"}, Said{`"1d"`, "86400"},
		Said{`"1500ms"`, "1.5"}, Said{`"2m30s"`, "150"}, Said{`"30"`, "30"})
}

func (w Writer) age() Said {
	age, d := same("age"), w.duration()
	if w.IntN(3) == 0 {
		d = Pick(w, w.number(0), same("idle"))
		for strings.Contains(d.Rules, "port") {
			d = w.number(0)
		}
	}
	if w.IntN(3) == 0 {
		age, d = d, age
	}
	return w.join(Pick(w, " < ", " <= ", " > ", " >= "), age, d)
}

// spell writes a state in one of the ways in which people do.
func (w Writer) spell(state string) string {
	switch w.IntN(4) {
	case 0:
		return strings.ToLower(state)
	case 1:
		return strings.ReplaceAll(state, "_", "-")
	case 2:
		return map[string]string{"ESTABLISHED": "ESTAB", "FIN_WAIT1": "fin-wait-1", "LISTEN": "LISTENING", "CLOSE": "UNCONN"}[state]
	}
	return state
}

func (w Writer) state() Said {
	name := func() Said {
		state := Pick(w, collectors.StateNames()...)
		spelled := w.spell(state)
		if spelled == "" {
			spelled = state
		}
		return Said{fmt.Sprintf("%q", spelled), fmt.Sprintf("%q", state)}
	}
	a, b, c := name(), name(), name()
	switch w.IntN(4) {
	case 0:
		op := Pick(w, " in ", " not in ")
		return Said{fmt.Sprintf("state%s[%s, %s, %s]", op, a.Rules, b.Rules, c.Rules), fmt.Sprintf("state%s[%s, %s, %s]", op, a.Plain, b.Plain, c.Plain)}
	case 1:
		return w.join(Pick(w, " == ", " != "), a, same("state"))
	}
	return w.join(Pick(w, " == ", " != "), same("state"), a)
}

func (w Writer) enum() Said {
	of := func(field string, values ...string) Said {
		v := Pick(w, values...)
		spelled := Pick(w, v, strings.ToUpper(v))
		if w.IntN(4) == 0 {
			op := Pick(w, " in ", " not in ")
			return Said{fmt.Sprintf("%s%s[%q, %q]", field, op, spelled, values[0]), fmt.Sprintf("%s%s[%q, %q]", field, op, v, values[0])}
		}
		op := Pick(w, " == ", " != ")
		return Said{fmt.Sprintf("%s%s%q", field, op, spelled), fmt.Sprintf("%s%s%q", field, op, v)}
	}
	if w.IntN(3) == 0 {
		return of("protocol", "tcp", "udp", "mptcp")
	}
	d := Pick(w, enumFields...)
	return of(d.Name, d.Values...)
}

func (w Writer) text() Said {
	switch w.IntN(5) {
	case 0:
		return same(Pick(w, `"hbbs"`, `"nginx"`, `""`, `"b"`, "server"))
	case 1:
		return Said{`lookup(words, process, "none")`, `(process in words ? words[process] : "none")`}
	}
	return same(Pick(w, stringNames...))
}

func (w Writer) strings() Said {
	switch w.IntN(4) {
	case 0:
		op := Pick(w, " matches ", " not matches ")
		pattern := Pick(w, `"^h"`, `"b+s?$"`, `"(?i)NGINX"`, `"^$"`, "server")
		t := w.text()
		return Said{t.Rules + op + pattern, t.Plain + op + pattern}
	case 1:
		op := Pick(w, " in ", " not in ")
		list := Pick(w, Said{`["hbbs", "nginx"]`, `["hbbs", "nginx"]`}, Said{"servers", `["hbbs", "nginx"]`},
			Said{`["hbbs"]`, `["hbbs"]`}, Said{"[]", "[]"}, Said{"empty", "[]"})
		t := Pick(w, "process", "user", "listener_process", "who")
		return Said{t + op + list.Rules, strings.Replace(t, "who", "process", 1) + op + list.Plain}
	}
	return w.join(Pick(w, " == ", " != ", " contains ", " startsWith ", " endsWith ", " not contains ", " not startsWith "), w.text(), w.text())
}

func (w Writer) addresses() Said {
	field := Pick(w, addrNames...)
	switch w.IntN(4) {
	case 0:
		a := Pick(w, "10.1.2.3", "::ffff:10.1.2.3", "203.0.113.9", "fd7a:115c:a1e0::1", "::1")
		op := Pick(w, " == ", " != ")
		plain := fmt.Sprintf("same(%s, %q)", field, a)
		if op == " != " {
			plain = "not " + plain
		}
		return Said{fmt.Sprintf("%s%s%q", field, op, a), plain}
	case 1:
		return Said{field + " in tailnet", fmt.Sprintf(`inside(%[1]s, "100.64.0.0/10") or inside(%[1]s, "fd7a:115c:a1e0::/48")`, field)}.parens()
	case 2:
		return Said{"local_addr != remote_addr", "not equal(local_addr, remote_addr)"}
	}
	p := Pick(w, "10.0.0.0/8", "203.0.113.8/31", "::/0", "0.0.0.0/0", "fd00::/8", "100.64.0.0/10", "10.1.2.3/32", "::ffff:0.0.0.0/96",
		"::/80", "::/95", "::ffff:0:0/90", "::ffff:10.0.0.0/104", "::ffff:203.0.113.9/128", "::/128", "0.0.0.0/32", "everyone6", "mapped10")
	if named := map[string]string{"everyone6": "::/0", "mapped10": "::ffff:10.0.0.0/104"}[p]; named != "" {
		return Said{field + " in " + p, fmt.Sprintf("inside(%s, %q)", field, named)}
	}
	if w.IntN(2) == 0 {
		return Said{fmt.Sprintf("%s not in [%q]", field, p), fmt.Sprintf("not inside(%s, %q)", field, p)}
	}
	return Said{fmt.Sprintf(`%s in [%q, "192.0.2.0/24"]`, field, p), fmt.Sprintf(`(inside(%[1]s, %[2]q) or inside(%[1]s, "192.0.2.0/24"))`, field, p)}
}

func (w Writer) ports(field string) Said {
	if field == "port" {
		field = Pick(w, "port", "local_port")
	}
	own := strings.Replace(field, "local_", "", 1)
	if w.IntN(3) == 0 {
		op, n := w.comparison(), Pick(w, "0", "22", "80", "443", "21117", "51514", "65535", "remote_port", "port")
		return Said{field + op + n, own + op + n}
	}
	list := Pick(w, Said{"rustdesk", "% in 21115..21119"}, Said{"[80, 21115..21119]", "(% in [80] or % in 21115..21119)"},
		Said{"21115..21119", "% in 21115..21119"},
		Said{"[22]", "% in [22]"}, Said{"web", "(% in [80, 443] or % in 8000..8099)"}, Said{"[]", "% in []"},
		Said{"empty", "% in []"}, Said{"listed", "(% in [80] or % in 21115..21119)"},
		Said{"1..65535", "% in 1..65535"}, Said{"gaps", "% in [1, 2, 3, 5, 7, 8, 9]"})
	plain := strings.ReplaceAll(list.Plain, "%", own)
	if w.IntN(3) == 0 {
		return Said{field + " not in " + list.Rules, "not (" + plain + ")"}
	}
	return Said{field + " in " + list.Rules, "(" + plain + ")"}
}

// named uses macros, known() and comparisons with an empty list.
func (w Writer) named() Said {
	const (
		hung  = `(state == "CLOSE_WAIT" and age > 60)`
		local = `(port in 21115..21119 or (remote_port in [80, 443] or remote_port in 8000..8099))`
	)
	field := Pick(w, allNames...)
	return Pick(w, Said{"hung", hung}, Said{"local", local}, Said{"both", "(" + hung + " or not " + local + ")"}, Said{"known(" + field + ")", "true"},
		Said{"empty == []", "true"}, Said{"web != []", "true"}, Said{"(empty == [] or port in empty)", "true"}, Said{"known(" + field + ") and known(uid)", "true"},
		Said{"uid in gaps", "(uid in [1, 2, 3, 5, 7, 8, 9])"}, Said{"uid in [0, 1000..2000]", "(uid == 0 or 1000 <= uid <= 2000)"})
}
