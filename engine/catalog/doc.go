// Package catalog binds the rungs of rules to the actions that there are: rules know
// actions only by such a catalog, and actions know no rules.
package catalog
