"""Public data sets of programming problems, read row by row in the formats in which they are published."""
