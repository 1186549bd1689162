"""The one exception whose message is written for the user."""


class UserError(Exception):
    """A mistake the user can fix; the message says the rule, the value and the fix.

    Entry points print the message as one sentence and exit with code 2, without a traceback.
    """

    is_said = False  # another process of the job prints the message
