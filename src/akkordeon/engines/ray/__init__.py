"""The engine on Ray, the only package that imports it; needs the extra `akkordeon[ray]`. Open `engine.Ray` first."""
