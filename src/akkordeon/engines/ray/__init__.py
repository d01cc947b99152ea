"""The engine on Ray. The only package that imports it; needs the extra `akkordeon[ray]`."""
