"""Chat platforms: each turns an event into a Question and a Reply into messages."""
