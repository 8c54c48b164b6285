"""What goes over Redis and may be lost: notifications, progress, pending requests."""
