package link

// Link is one directed, breakable connection. Its methods are safe for concurrent use.
type Link struct{}
