"""What holds for all tests."""

from hypothesis import settings

# No deadline: how long an example takes says more about a busy machine than about the code.
# The default keeps whatever Hypothesis itself chose, which is its `ci` profile where CI is set.
settings.register_profile("gateway", settings(), deadline=None)
settings.register_profile("fuzz", settings(), deadline=None, max_examples=5000, derandomize=False)
settings.load_profile("gateway")
