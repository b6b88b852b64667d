package lang

// ID names a kind of problem, in kebab-case. It is a contract: people ask for its
// explanation, and comments in rules files name it.
type ID string

// The kinds of errors in conditions. What each means, and its cure, stands with the kinds
// of the rules files.
const (
	IDAgeInterval     ID = "age-interval"
	IDBadPattern      ID = "bad-pattern"
	IDGroupOnly       ID = "group-only"
	IDMacroCircle     ID = "macro-circle"
	IDNeverEqual      ID = "never-equal"
	IDNotAvailable    ID = "not-available"
	IDOutOfRange      ID = "out-of-range"
	IDPrefixAsAddress ID = "prefix-as-address"
	IDSyntax          ID = "syntax"
	IDTooLarge        ID = "too-large"
	IDUnknownName     ID = "unknown-name"
	IDWrongEntry      ID = "wrong-entry"
	IDWrongType       ID = "wrong-type"
	IDWrongValue      ID = "wrong-value"
	IDIPv6Only        ID = "ipv6-only"
)
