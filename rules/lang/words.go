package lang

// Word is an operator or a function of conditions, for the reference.
type Word struct {
	Name    string
	Meaning string
	Example string // a condition that uses it
}

// Words lists the operators and functions, those that bind least first.
func Words() []Word {
	return []Word{
		{"or", "true if one of them is, also if the other is unknown; also `||`", `port == 80 or port == 443`},
		{"and", "true if both are, false if one of them is; also `&&`", `state == "CLOSE_WAIT" and age > 60`},
		{"not", "unknown stays unknown; also `!`", `not (process in ["nginx", "haproxy"])`},
		{"==", "equal; text by its letters, addresses as addresses; not for ages", `process == "nginx"`},
		{"!=", "different; unknown if the field is", `interface != "tailscale0"`},
		{"<", "also `<=`, `>`, `>=`, and chained. Times are seconds, or text such as `\"5m\"`", `1024 <= port < 2000 and idle > "5m"`},
		{"in", "one of a list, a range, a prefix or a set; also `not in`", `port in [80, 8000..8099] and remote_addr not in ["10.0.0.0/8", "fd00::/8"]`},
		{"matches", "a regular expression (RE2) somewhere in the text, which must be a constant", `cmdline matches "-Xmx[0-9]+g"`},
		{"contains", "a text within another", `cmdline contains "--relay"`},
		{"startsWith", "a text at the beginning of another", `unit startsWith "hbb"`},
		{"endsWith", "a text at the end of another", `exe endsWith "/hbbs"`},
		{"+", "also `-` and `*`, of numbers", `send_queue + 1 > send_buffer`},
		{"known", "whether a field is known, which all else takes for granted", `known(process) and process != "nginx"`},
		{"lookup", "the value of a map of `vars` for a key, or a default", `age > lookup(patience, process, 60)`},
	}
}
