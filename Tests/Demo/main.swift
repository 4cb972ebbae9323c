import Lab
print(Requirements.missing())
