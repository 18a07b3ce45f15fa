# Print a Makefile's help from its own comments:  "## Section"   "target target: deps ## text"   "#: VARIABLE=  text"
function entry(name, text) {
	if (length(name) > 27)
		printf "  %s\n%31s%s\n", name, "", text
	else
		printf "  %-28s %s\n", name, text
}
/^## / { printf "%s%s\n", separator, substr($0, 4); separator = "\n" }
/^#: / { name = $2; sub(/^#: +[^ ]+ */, ""); entry(name, $0) }
/^[^#\t].*: .*## / || /^[^#\t].*: +## / {
	name = text = $0
	sub(/:.*/, "", name); gsub(/%/, "<name>", name)
	sub(/.*## /, "", text)
	entry(name, text)
}
