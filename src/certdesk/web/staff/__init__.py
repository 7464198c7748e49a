"""The people of the RA, for the operators who look after their accounts."""
