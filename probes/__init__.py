"""Hold the fixed probe battery and the phrases that go with it."""
