package control

import (
	"net/http"
	"time"

	"sockwarden/engine/pause"
	"sockwarden/rules"
)

// pauseRequest is the body of POST /v1/pause.
type pauseRequest struct {
	For string `json:"for,omitempty"` // such as 30m; "" until somebody resumes
	By  string `json:"by,omitempty"`  // who wants it, in their own words
}

// pause sets the switch that the watcher looks at before each effect. It does not need the
// loop, so it holds even if a cycle hangs.
func (s *Server) pause(r *http.Request) (answer, error) {
	var q pauseRequest
	if err := body(r, &q); err != nil {
		return answer{}, err
	}
	if s.opts.PauseFile == "" {
		return answer{}, problemf(http.StatusConflict, "there is no directory for the switch: XDG_RUNTIME_DIR is not set")
	}
	p := pause.Pause{Since: time.Now(), By: by(r, q.By)}
	if q.For != "" {
		d, err := rules.ParseDuration(q.For)
		if err != nil || d <= 0 {
			return answer{}, problemf(http.StatusBadRequest, "for: %q is not a time: write it as 30m or 2h", printable(q.For))
		}
		p.Until = p.Since.Add(d)
	}
	err, ends := p.Set(s.opts.PauseFile)
	if err != nil {
		return answer{}, err
	}
	if ends != nil {
		s.opts.Log.Warn("a reboot ends this pause", "reason", ends)
	}
	return answer{http.StatusOK, map[string]any{"paused": pause.Read(p.Since, s.opts.PauseFiles...)}}, nil
}

// resume ends the pause that the watcher can end; the answer has one that goes on.
func (s *Server) resume(r *http.Request) (answer, error) {
	if err := body(r, &struct{}{}); err != nil {
		return answer{}, err
	}
	was := false
	if s.opts.PauseFile != "" {
		var err error
		if was, err = pause.Resume(s.opts.PauseFile); err != nil {
			return answer{}, err
		}
	}
	return answer{http.StatusOK, map[string]any{"resumed": was, "paused": pause.Read(time.Now(), s.opts.PauseFiles...)}}, nil
}
