// Package pause has the switches that stop every effect at once.
package pause
