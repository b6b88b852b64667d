package main

import (
	"strings"
	"time"

	"sockwarden/rules"
)

// duration is a flag that takes durations as rules files do.
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

// breakerLimits is a flag that takes the breaker's limits.
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

// commaList is a flag that takes several values, separated by commas or repeated.
type commaList struct{ values *[]string }

func (l commaList) String() string {
	if l.values == nil {
		return ""
	}
	return strings.Join(*l.values, ",")
}

// Set implements pflag.Value. It keeps empty values for whoever checks them.
func (l commaList) Set(text string) error {
	for part := range strings.SplitSeq(text, ",") {
		*l.values = append(*l.values, strings.TrimSpace(part))
	}
	return nil
}

func (commaList) Type() string { return "list" }

// Append implements pflag.SliceValue.
func (l commaList) Append(text string) error { return l.Set(text) }

// Replace implements pflag.SliceValue.
func (l commaList) Replace(values []string) error {
	*l.values = values
	return nil
}

// GetSlice implements pflag.SliceValue.
func (l commaList) GetSlice() []string { return *l.values }
