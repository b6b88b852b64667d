package main

import (
	"time"

	"sockwarden/rules"
)

// duration is a flag that takes times as rules files do.
type duration struct{ value *time.Duration }

func (d duration) String() string {
	if d.value == nil || *d.value == 0 {
		return ""
	}
	return d.value.String()
}

func (d duration) Set(text string) error {
	v, err := rules.ParseDuration(text)
	*d.value = v
	return err
}

func (duration) Type() string { return "duration" }

// breakerLimits is a flag that takes the limits of the breaker.
type breakerLimits struct{ value **rules.Breaker }

func (b breakerLimits) String() string {
	if b.value == nil || *b.value == nil {
		return ""
	}
	return (*b.value).String()
}

func (b breakerLimits) Set(text string) error {
	v, err := rules.ParseBreaker(text)
	*b.value = &v
	return err
}

func (breakerLimits) Type() string { return "limits" }
