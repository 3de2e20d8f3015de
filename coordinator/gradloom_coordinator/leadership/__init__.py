"""Which of several coordinators on one database leads, and what the others do meanwhile."""
