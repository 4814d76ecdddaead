"""What the help of ``interceptor istio-iptables`` says before the options."""

HEAD = """\
  Do what istio-iptables does, from its own flags and variables: the same rules, as one change
  that is made as a whole or not at all, whatever is there.

  A flag goes before a variable. What Istio would silently take for something else is refused,
  but with --lenient it is taken as Istio takes it.
"""
