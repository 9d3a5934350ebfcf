"""May this identity come in? Enrollment groups, individual enrollments, and the decision. Pure."""
