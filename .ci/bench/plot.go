package main

import (
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	_ "gonum.org/v1/plot/vg/vgsvg" // draws .svg
)

// series are the lines of the plot: sockwarden thick, peers thin, floors dashed.
var series = []struct {
	row, label string
	color      color.RGBA
	width      vg.Length
	dashes     []vg.Length
}{
	{"audit narrow bpf", "sockwarden, 5 % match, BPF", color.RGBA{0xd6, 0x27, 0x28, 0xff}, 2.5, nil},
	{"audit narrow proc", "sockwarden, 5 % match, /proc", color.RGBA{0xff, 0x7f, 0x0e, 0xff}, 2.5, nil},
	{"audit unfiltered", "sockwarden, reads all", color.RGBA{0x8c, 0x56, 0x4b, 0xff}, 2.5, nil},
	{"ss -tan", "ss -tan", color.RGBA{0x1f, 0x77, 0xb4, 0xff}, 1.2, nil},
	{"ss -tanp", "ss -tanp", color.RGBA{0x17, 0xbe, 0xcf, 0xff}, 1.2, nil},
	{"netstat -tanp", "netstat -tanp", color.RGBA{0x2c, 0xa0, 0x2c, 0xff}, 1.2, nil},
	{"lsof -iTCP", "lsof -iTCP", color.RGBA{0x94, 0x67, 0xbd, 0xff}, 1.2, nil},
	{"floor a", "floor: all (a)", color.RGBA{0x55, 0x55, 0x55, 0xff}, 1.2, []vg.Length{5, 3}},
	{"floor d1", "floor: filtered (d1)", color.RGBA{0x99, 0x99, 0x99, 0xff}, 1.2, []vg.Length{2, 2}},
}

// writePlot draws the time of whole processes over the number of sockets.
func writePlot(d *data, path string) error {
	p := plot.New()
	p.Title.Text = "Whole process, median"
	p.X.Label.Text, p.Y.Label.Text = "sockets", "milliseconds"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = decades{}, decades{}
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.Padding = vg.Points(2)
	p.BackgroundColor = color.White // even where the page is dark
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{0xdd}, color.Gray{0xdd}
	p.Add(grid)
	drawn := false
	for _, s := range series {
		var points plotter.XYs
		for _, size := range d.sizes() {
			if r := d.find(s.row, size); r != nil {
				points = append(points, plotter.XY{X: float64(size), Y: r.wall()})
			}
		}
		if len(points) == 0 {
			continue
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return err
		}
		line.Color, line.Width, line.Dashes = s.color, vg.Points(float64(s.width)), s.dashes
		dots.Color, dots.Shape, dots.Radius = s.color, draw.CircleGlyph{}, vg.Points(2.5)
		p.Add(line, dots)
		p.Legend.Add(s.label, line, dots)
		drawn = true
	}
	if !drawn {
		return nil // logarithmic axes need points
	}
	// Whole decades, with one more on top for the legend.
	p.X.Min, p.X.Max = decade(p.X.Min), 10*decade(p.X.Max*0.999)
	p.Y.Min, p.Y.Max = decade(p.Y.Min), 100*decade(p.Y.Max)
	return p.Save(9*vg.Inch, 6*vg.Inch, path)
}

// decades marks the powers of ten with their numbers, and 2 to 9 between them.
type decades struct{}

func (decades) Ticks(low, high float64) []plot.Tick {
	var ticks []plot.Tick
	for v := decade(low); v <= high*1.001; v *= 10 {
		label := number(v)
		if v >= 1 {
			label = thousands(int(v + 0.5))
		}
		ticks = append(ticks, plot.Tick{Value: v, Label: label})
		for i := 2.0; i < 10 && v*i < high; i++ {
			ticks = append(ticks, plot.Tick{Value: v * i})
		}
	}
	return ticks
}

// decade is the greatest power of ten that is not above v.
func decade(v float64) float64 { return math.Pow(10, math.Floor(math.Log10(v))) }
