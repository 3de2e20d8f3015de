"""What tests are built from: worlds with a number for a clock, and the smallest algorithm there is."""
