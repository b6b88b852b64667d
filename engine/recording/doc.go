// Package recording keeps what a host was at one moment, and gives it back as a world.
//
// Comes in: a picture of every socket and the world that it was taken of (Take), or a file
// (Read). Goes out: a file (Write), or a world.World with the collector that shows it, in
// which the engine runs as it would have then: without root, on any machine. What nobody
// asked the host is unknown there. Nothing is ever done to a recording: its actions only
// say what they would do.
package recording
