// Package catalog binds the rungs of rules to actions: rules know actions only through
// such a catalog, and actions do not know rules.
package catalog
