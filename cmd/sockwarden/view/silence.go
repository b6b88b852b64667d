package view

import (
	"strconv"
	"strings"
	"time"

	"sockwarden/engine/silence"
	"sockwarden/engine/watch"
)

// SilenceAdded says which silence began. asked says that a watcher counted what it covers.
func SilenceAdded(o Out, s *watch.SilenceStatus, asked bool) error {
	if o.Format != Text {
		return o.Encode(s)
	}
	covers := ""
	if asked {
		covers = ", " + sparesText(s)
	}
	o.say("silence %d: %s, until %s%s", s.ID, Printable(oneLine(s.About())), untilText(s.Silence), covers)
	if strings.HasPrefix(s.Kept, "/run/") {
		o.say("it also ends with a reboot, as it is kept in %s", Printable(s.Kept))
	}
	return nil
}

func sparesText(s *watch.SilenceStatus) string {
	if s.AtLeast {
		return "spares " + strconv.Itoa(s.Spares) + " or more now"
	}
	return "spares " + strconv.Itoa(s.Spares) + " now"
}

func untilText(s *silence.Silence) string {
	layout := time.TimeOnly
	if s.EndsAt.Sub(s.StartsAt) >= 12*time.Hour {
		layout = time.DateTime
	}
	return s.EndsAt.Local().Format(layout)
}

// Silences lists silences in force.
func Silences(o Out, all []watch.SilenceStatus, now time.Time) error {
	if o.Format != Text {
		return writeRows(o, len(all), func(i int) watch.SilenceStatus { return all[i] })
	}
	if len(all) == 0 {
		o.say("no silence is in force")
		return nil
	}
	for i := range all {
		silenceLine(o, &all[i], now)
	}
	return nil
}

// silenceLine says what there is to know of a silence.
func silenceLine(o Out, s *watch.SilenceStatus, now time.Time) {
	text := strconv.Itoa(s.ID) + "  " + oneLine(s.About()) + ", " + span(max(0, s.EndsAt.Sub(now).Seconds())) + " left, by " + s.CreatedBy
	if s.Comment != "" {
		text += ": " + strconv.Quote(s.Comment)
	}
	if s.Spares > 0 || s.AtLeast {
		text += " (" + sparesText(s) + ")"
	}
	if len(s.MissingRules) > 0 {
		text += "; there is no rule " + strings.Join(s.MissingRules, ", ") + " any more"
	}
	o.say("%s", Printable(text))
}
