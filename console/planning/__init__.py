"""`tidegate plan`: what the definitions in the folder would change for users, against what is deployed."""
