package rules

import "sockwarden/rules/lang"

// The kinds of errors in a rules file. Those in conditions are in lang.
const (
	idBadName          lang.ID = "bad-name"
	idCutByComment     lang.ID = "cut-by-comment"
	idDuplicateKey     lang.ID = "duplicate-key"
	idDuplicateName    lang.ID = "duplicate-name"
	idEmptySet         lang.ID = "empty-set"
	idLadderOrder      lang.ID = "ladder-order"
	idMissing          lang.ID = "missing"
	idNeedsCooldown    lang.ID = "needs-cooldown"
	idNoRules          lang.ID = "no-rules"
	idNoVersion        lang.ID = "no-version"
	idUnknownAction    lang.ID = "unknown-action"
	idUnknownKey       lang.ID = "unknown-key"
	idUnknownNotifier  lang.ID = "unknown-notifier"
	idUnknownParameter lang.ID = "unknown-parameter"
	idUnknownRule      lang.ID = "unknown-rule"
	idUnreadable       lang.ID = "unreadable"
	idTestOfRules      lang.ID = "test-of-rules"
	idUntrusted        lang.ID = "untrusted"
	idWrongForm        lang.ID = "wrong-form"
	idWrongParameter   lang.ID = "wrong-parameter"
	idWrongTest        lang.ID = "wrong-test"
	idYAML             lang.ID = "yaml-syntax"
	idYAMLFeature      lang.ID = "yaml-feature"
)

// The kinds of warnings: about what is valid, but does not do what it seems to say.
const (
	idAckIdleRenewed lang.ID = "ack-idle-renewed"
	idActionAdvice   lang.ID = "action-advice"
	idAgeUnreachable lang.ID = "age-unreachable"
	idAlwaysTrue     lang.ID = "always-true"
	idNeverActs      lang.ID = "never-acts"
	idNeverHolds     lang.ID = "never-holds"
	idNeverMatches   lang.ID = "never-matches"
	idNeverTrue      lang.ID = "never-true"
	idNoAnchor       lang.ID = "no-anchor"
	idNoCollateral   lang.ID = "no-max-collateral"
	idNotRead        lang.ID = "not-read"
	idPluginAdvice   lang.ID = "plugin-advice"
	idPeerUnlimited  lang.ID = "peer-unlimited"
	idShadowed       lang.ID = "shadowed-rule"
	idStillTransfers lang.ID = "still-transfers"
	idTakesAll       lang.ID = "takes-everything"
	idUnreachedRung  lang.ID = "unreached-rung"
	idUnusedMacro    lang.ID = "unused-macro"
	idUnusedSet      lang.ID = "unused-set"
	idUnusedVar      lang.ID = "unused-var"
	// IDProgramMissing is for a program that an action would run and the host does not
	// have.
	IDProgramMissing lang.ID = "program-missing"
)

// The kinds of warnings about comments that ask for silence.
const (
	idIgnoreReason  lang.ID = "ignore-without-reason"
	idIgnoreUnknown lang.ID = "ignore-unknown"
	idIgnoreUnused  lang.ID = "ignore-unused"
)
