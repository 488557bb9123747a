"""Take-away: the edited checkpoint, session files and reports."""
