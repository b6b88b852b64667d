package lang

import (
	"fmt"
	"testing"
)

// A condition in the style of another language, or one that stops too early, gets an
// error that says what to write instead, at its place.
func TestOtherLanguages(t *testing.T) {
	for text, want := range map[string]string{
		`port is 80`:                  `5: unexpected "is": write ==`,
		`port eq 80`:                  `5: unexpected "eq": write ==`,
		`process like "ng%"`:          `8: unexpected "like": write contains, startsWith or endsWith`,
		`port between 80 and 90`:      `5: unexpected "between": write in, as in port in 80..90`,
		`if port == 80 then true`:     `14: unexpected "then": a condition only says what must be true, without if and then`,
		`process =~ "ng"`:             `8: unexpected "=~": write matches`,
		`process ~ "ng"`:              `8: unexpected "~": write matches`,
		`port <> 80`:                  `5: unexpected "<>": write !=`,
		`port === 80`:                 `5: unexpected "===": write ==`,
		`port = 80`:                   `5: unexpected "=": write == to compare`,
		`port == 80 & owned`:          `11: unexpected "&": write and`,
		`port == 80 and`:              `14: the condition ends too early: something is missing behind and`,
		`user == "é漢😀😀😀" and `:        `20: the condition ends too early: something is missing behind and`,
		`port ==`:                     `7: the condition ends too early: something is missing behind ==`,
		`(port == 80`:                 `11: the condition ends too early: a ")" is missing`,
		`owned == "yes"`:              `0: owned is true or false: write owned, or not owned`,
		`process.startsWith("ng")`:    `8: methods are not available: write the operator between, as in process startsWith "ng"`,
		`process matches "ng("`:       "16: \"ng(\" is not a regular expression: missing closing ): `ng(`",
		`remote_addr == "10.0"`:       `15: "10.0" is not an IP address: write it in full, such as "203.0.113.7" or "2001:db8::7"`,
		`remote_addr in ["10.0.0/8"]`: `16: "10.0.0/8" is not a CIDR prefix, such as 10.0.0.0/8 or 2001:db8::/32`,
		`age > 1h30m`:                 `6: a duration is written in quotes: "1h30m"`,
		`age > 5 min`:                 `6: a duration is written in quotes: "5m"`,
		`process in [nginx]`:          `12: unknown name "nginx": a text is written in quotes, also in a list: ["nginx"]`,
		`state in [LISTEN]`:           `10: unknown name "LISTEN": a state is written in quotes, "LISTEN"`,
		`exe == /usr/bin/x`:           `7: unexpected "/": a path is written in quotes`,
		`contains(process, "x")`:      `0: unexpected "contains": it goes between two parts, as in process contains "ng"`,
		`process != null`:             `11: unknown name "null": use known(field) to ask whether something is known, and compare with "" or 0 for none`,
		`port == 80 # web`:            `11: unexpected "#": write a comment within a condition as /* ... */`,
		`age > "-5m"`:                 `6: "-5m" is not a time: write seconds, or units as in 90s, 5m, 1h30m, 2d`,
		`age > "-5"`:                  `6: "-5" is negative: a time is at least 0`,
		`zzz == 80`:                   `0: unknown name "zzz": it is neither a field (sockwarden rules fields lists them) nor a variable, set or macro`,
	} {
		_, errs := Compile(text, &Scope{})
		if len(errs) != 1 {
			t.Errorf("%s: %v", text, errs)
		} else if got := fmt.Sprintf("%d: %s", errs[0].From, errs[0].Message); got != want {
			t.Errorf("%s:\n got %s\nwant %s", text, got, want)
		}
	}
}
