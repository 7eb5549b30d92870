"""Fireside on Discord: events become Questions, Replies become messages. The only package that knows discord.py."""
