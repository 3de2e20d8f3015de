"""What a run came to: facts from what the coordinator keeps, as a page, as a timeline, as a record of speeds."""
