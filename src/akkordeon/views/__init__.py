"""What shows a network at work. Views read its status and know nothing else; training goes on without them."""

from akkordeon.views.terminal import Lines, Picture, View

__all__ = ["Lines", "Picture", "View"]
