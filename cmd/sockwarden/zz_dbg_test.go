package main
import ("testing";"strings")
func dumpLog(t *testing.T, w *warden) {
	for _, l := range w.log(0) { if !strings.Contains(l, `"acted"`) && !strings.Contains(l, `"finding"`) && !strings.Contains(l,"more findings") { if len(l)>300 {l=l[:300]}; t.Log(l) } }
}
