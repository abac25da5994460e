"""A script of Streamlit's, in a folder of its own: the script's folder comes first where Python looks for modules."""
