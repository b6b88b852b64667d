package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"unicode"

	"sockwarden/engine/report"
)

// rows is a list of findings, which is written one by one: there can be very many.
type rows []*report.Finding

// findings are those of the last cycle.
func (s *Server) findings(*http.Request) (answer, error) {
	st, err := s.now()
	if err != nil {
		return answer{}, err
	}
	if st.Report == nil {
		return answer{}, problemf(http.StatusServiceUnavailable, "the first cycle has not ended yet")
	}
	return answer{http.StatusOK, rows(st.Report.Findings)}, nil
}

// write writes an array of findings, when it is its turn: few are written at a time, so
// that clients do not take the processors from the cycles.
func (s *Server) write(w http.ResponseWriter, r *http.Request, all rows) {
	select {
	case s.rows <- struct{}{}:
		defer func() { <-s.rows }()
	case <-r.Context().Done():
		return
	}
	between := "[\n"
	for _, f := range all {
		b, err := json.Marshal(f)
		if err == nil {
			_, err = w.Write(append([]byte(between), b...))
		}
		if err != nil {
			return // a client that went away
		}
		between = ",\n"
	}
	if len(all) == 0 {
		between = "["
	} else {
		between = "\n"
	}
	_, _ = io.WriteString(w, between+"]\n")
}

// strictly decodes one JSON value: unknown fields and anything behind it are errors.
func strictly(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("the request is not what it has to be: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the request has more than one JSON value")
	}
	return nil
}

// printable makes what a client wrote safe for logs and terminals, and short.
func printable(text string) string {
	const most = 200
	text = text[:min(len(text), most)]
	for _, r := range text {
		if !unicode.IsPrint(r) {
			return strconv.Quote(text)
		}
	}
	return text
}
