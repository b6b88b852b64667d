// Package pause holds the switches that stop every effect at once.
package pause
